#!/bin/sh
# Installs Debian's RabbitMQ for the bench, as root, without starting or enabling its service: the bench runs its own nodes.
set -eu
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy" # invoke-rc.d: starting is forbidden
	chmod 755 "$policy"
	made=1
fi
finish() { [ -z "$made" ] || rm -f "$policy"; }
trap finish EXIT
apt-get update
DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y --no-install-recommends rabbitmq-server
if [ -d /run/systemd/system ]; then
	systemctl disable -q rabbitmq-server.service epmd.service epmd.socket
fi
