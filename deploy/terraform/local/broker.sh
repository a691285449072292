#!/bin/sh
# Runs one broker of this machine under a supervisor of its own, and keeps everything of it in DIR:
#
#   DIR/config.yaml  DIR/data/  DIR/log  DIR/supervisor.pid  DIR/broker.pid
#
#   broker.sh configure DIR TEXT       write config.yaml
#   broker.sh start DIR TRUNKLINED     start the supervisor, unless it runs
#   broker.sh stop DIR                 drain and end both (SIGTERM, after 60 s SIGKILL)
#   broker.sh restart DIR TRUNKLINED   both
#   broker.sh erase DIR                remove DIR
#
# The supervisor starts the broker again unless it ends with code 0 (stopped) or 78 (decommissioned, or misconfigured), after
# 1 s, then 2 s and so on up to 30 s; a broker that ran for a minute begins anew. Log lines are appended to DIR/log.
set -eu
umask 077

fail() { echo "broker.sh: $*" >&2; exit 1; }

# running PIDFILE WORD prints the pid if that process is there and has WORD in its command line: a pid may be another's by now.
running() {
	pid=$(cat "$1" 2>/dev/null) && tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF -- "$2" && echo "$pid"
}

# supervise is what the supervisor does until it is told to end, or the broker is done.
supervise() {
	dir=$1 trunklined=$2 pause=1 child='' ending=''
	echo $$ >"$dir/supervisor.pid"
	trap 'ending=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true' TERM INT
	while [ -z "$ending" ]; do
		began=$(date +%s)
		"$trunklined" --config "$dir/config.yaml" &
		child=$!
		echo "$child" >"$dir/broker.pid"
		[ -z "$ending" ] || kill -TERM "$child" # told between the look and the start
		code=0
		wait "$child" || code=$?
		while kill -0 "$child" 2>/dev/null; do # a signal ended the wait, not the broker
			code=0
			wait "$child" || code=$?
		done
		child=''
		rm -f "$dir/broker.pid"
		if [ -n "$ending" ] || [ "$code" = 0 ] || [ "$code" = 78 ]; then break; fi
		[ $(($(date +%s) - began)) -lt 60 ] || pause=1
		echo "supervisor: the broker ended with code $code; it is started again in $pause s"
		sleep "$pause" &
		wait $! || true
		pause=$((pause * 2 > 30 ? 30 : pause * 2))
	done
	rm -f "$dir/supervisor.pid"
}

start() {
	if running "$1/supervisor.pid" supervise >/dev/null; then return; fi
	[ -x "$2" ] || fail "$2 is no program: build it with \`make build\`, or set binaries"
	mkdir -p "$1"
	setsid "$0" supervise "$1" "$2" >>"$1/log" 2>&1 </dev/null &
}

# end PIDFILE WORD SIGNAL SECONDS sends SIGNAL and waits so long until the process is gone.
end() {
	pid=$(running "$1" "$2") || return 0
	kill "-$3" "$pid" 2>/dev/null || true
	left=$(($4 * 10))
	while running "$1" "$2" >/dev/null; do
		[ "$left" -gt 0 ] || return 1
		left=$((left - 1))
		sleep 0.1
	done
}

stop() {
	end "$1/supervisor.pid" supervise TERM 60 || end "$1/supervisor.pid" supervise KILL 5
	end "$1/broker.pid" "$1/config.yaml" KILL 5 || fail "$1: the broker does not end" # its supervisor was killed
	rm -f "$1/supervisor.pid" "$1/broker.pid"
}

verb=$1 dir=$2
shift 2
case $verb in
configure)
	mkdir -p "$dir"
	printf '%s' "$1" >"$dir/config.yaml.new"
	mv "$dir/config.yaml.new" "$dir/config.yaml"
	;;
start | supervise) "$verb" "$dir" "$1" ;;
stop) stop "$dir" ;;
restart)
	stop "$dir"
	start "$dir" "$1"
	;;
erase) rm -rf "$dir" ;;
*) fail "unknown word $verb" ;;
esac
