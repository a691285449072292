#!/bin/sh
# What becomes of a broker in a running cluster when Terraform makes, replaces or removes its machine. modules/membership
# calls it; it asks the cluster through `trunkline` and keeps its notes beside the context file.
#
#   member.sh context             write the context file
#   member.sh arrive ID KEY       wait until the broker serves and the cluster is well; take it back if it was drained
#   member.sh depart ID           drain a broker whose machine is to be replaced; one at a time
#   member.sh leave ID            decommission a broker that is to be removed
#   member.sh restart ID KEY CMD  restart it by CMD if it does not run with KEY yet, with `trunkline cluster roll`
#   member.sh down                from now on the whole cluster goes: depart and leave do nothing
#   member.sh forget              remove the notes
#
# Environment: DIRECTORY (of the context file and the notes), TRUNKLINE (the program), WAIT (seconds, bound of every wait),
# CONTEXT (for context), ROLL_FLAGS (for restart).
set -eu
umask 077

context=$DIRECTORY/context.json
notes=$DIRECTORY/.membership
fail() { echo "broker $id: $*" >&2; exit 1; }
ask() { "$TRUNKLINE" --context "$context" "$@"; }

# row ID prints "STATE ANSWERS" of a broker, nothing if the broker that was asked does not know it: who has just started or joined may
# know less than the cluster. It fails if nobody could be asked. The list is indented JSON, a key a line.
row() {
	list=$(ask broker list --json) || return
	echo "$list" | awk -v id="$1" '
		/"id":/ { found = ($2 + 0 == id) }
		found && /"state":/ { gsub(/[",]/, "", $2); state = $2 }
		found && /"alive":/ { gsub(/,/, "", $2); print state, $2 }'
}

# others ID prints the brokers besides ID that are not active or do not answer.
others() {
	list=$(ask broker list --json) || return
	echo "$list" | awk -v id="$1" '
		/"id":/ { n = $2 + 0 }
		/"state":/ { gsub(/[",]/, "", $2); state = $2 }
		/"alive":/ { gsub(/,/, "", $2); if (n != id && (state != "active" || $2 != "true")) print "broker", n, "is", state ($2 == "true" ? "" : ", does not answer") }'
}

# alone lets one of these scripts go on at a time: drains and restarts of several brokers must not overlap.
alone() {
	mkdir -p "$notes"
	exec 9>"$notes/lock"
	flock -w "$WAIT" 9 || fail "another change of a broker has not ended within $WAIT s"
}

# ills prints what is wrong with the cluster, a sentence a line; of the codes in EXCEPT (separated by |) nothing.
ills() {
	code=0
	found=$(ask cluster health --json 2>&1) || code=$?
	if [ "$code" = 1 ]; then echo "$found"; fi # it could not be asked
	echo "$found" | awk -v except="|versions_differ|$1|" '
		/"severity":/ { grave = !/"info"/ }
		/"code":/ { gsub(/[",]/, "", $2); code = $2 }
		/"text":/ && grave && !index(except, "|" code "|") { sub(/^[^:]*: "/, ""); sub(/",?$/, ""); print }'
}

# until_well EXCEPT waits until there are none.
until_well() {
	end=$(($(date +%s) + WAIT))
	while said=$(ills "$1") && [ -n "$said" ]; do
		[ "$(date +%s)" -lt "$end" ] || fail "after $WAIT s the cluster is not well: $said"
		sleep 0.5
	done
}

# gone VERB tries VERB (drain, decommission), which the metadata decide, and returns 0 if they have no such broker (any more), 1 if that is
# begun. Only they can tell: an empty row may come from a broker that lags, and the data of the machine would go with it.
gone() {
	if said=$(ask broker "$1" "$id" --wait 0 2>&1); then return 1; fi
	case $said in
	*"broker $id was retired"* | *"there is no broker $id"*) return 0 ;;
	esac
	fail "it is not in the list of brokers, and the cluster does not say that it was retired: $said"
}

write_context() {
	mkdir -p "$DIRECTORY"
	# shellcheck disable=SC2153 # it comes from the environment
	printf '%s\n' "$CONTEXT" >"$context.new"
	mv "$context.new" "$context"
}

arrive() {
	end=$(($(date +%s) + WAIT))
	until state=$(row "$id" 2>&1) && [ "${state#* }" = true ]; do
		[ "$(date +%s)" -lt "$end" ] || fail "it does not serve after $WAIT s; the cluster says: ${state:-it does not know it}. Its own log says more"
		sleep 0.5
	done
	if [ "${state% *}" = drained ]; then ask broker undrain "$id"; fi
	until_well ""
	mkdir -p "$notes/keys"
	printf '%s' "$1" >"$notes/keys/$id"
}

depart() {
	[ ! -e "$notes/down" ] || return 0
	alone
	state=$(row "$id") || fail "the cluster cannot be asked whether its machine can go: $state"
	if [ -z "$state" ]; then
		if gone drain; then return 0; fi
		fail "it is drained; who was asked whether its machine can go did not know it yet: apply again"
	fi
	away=$(others "$id") || fail "the cluster cannot be asked whether others are away"
	[ -z "$away" ] || fail "its machine is not replaced while others are away: $away. Replace one at a time (-replace), and wait until \`trunkline cluster health\` has nothing to say"
	[ "${state#* }" = true ] || return 0 # a lost machine: nothing to drain
	said=$(ills "")
	[ -z "$said" ] || fail "its machine is not replaced while the cluster is not well: $said"
	ask broker drain "$id" --wait "${WAIT}s"
	until_well broker_drained
}

leave() {
	[ ! -e "$notes/down" ] || return 0
	alone
	state=$(row "$id") || fail "the cluster cannot be asked to let it go: $state"
	if [ -n "$state" ] || ! gone decommission; then ask broker decommission "$id" --wait "${WAIT}s"; fi
	rm -f "$notes/keys/$id"
}

restart() {
	alone
	if [ "$(cat "$notes/keys/$id" 2>/dev/null)" = "$1" ]; then return 0; fi
	list=$(ask broker list --json) || fail "the cluster cannot be asked which other brokers it has"
	skip=$(echo "$list" | awk -v id="$id" '/"id":/ && $2 + 0 != id { printf "%s%d", sep, $2 + 0; sep = "," }')
	# What CMD starts must not inherit the lock. ROLL_FLAGS are words on purpose.
	# shellcheck disable=SC2086
	ask cluster roll ${skip:+--skip "$skip"} --restart-cmd "$2" --wait "${WAIT}s" $ROLL_FLAGS 9>&-
	mkdir -p "$notes/keys"
	printf '%s' "$1" >"$notes/keys/$id"
}

verb=$1
id=${2:-}
case $verb in
context) write_context ;;
arrive) arrive "$3" ;;
depart) depart ;;
leave) leave ;;
restart) restart "$3" "$4" ;;
down) mkdir -p "$notes" && touch "$notes/down" ;;
forget) rm -rf "$notes" "$context" && { rmdir "$DIRECTORY" 2>/dev/null || true; } ;;
*) echo "member.sh: unknown word $verb" >&2 && exit 1 ;;
esac
