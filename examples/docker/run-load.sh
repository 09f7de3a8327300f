#!/bin/sh
# The first process of the container: runs a command, and passes a stop signal on to all of its processes.
#
# Usage: run-load.sh COMMAND [ARGUMENT]…
#
# `docker stop` and Kubernetes send SIGTERM to the first process only. The command gets a process group
# of its own (setsid comes with util-linux), so that the signal reaches the tap and the target of a
# pipeline: the tap stops, and the target delivers what it has read and writes its STATE.

exec 3<&0 # a command in the background has no standard input of its own
setsid "$@" <&3 3<&- &
load=$!
exec 3<&-
trap 'kill -s TERM -- "-$load"' TERM INT HUP

wait "$load"
code=$?
while kill -0 "$load" 2> /dev/null; do # a signal ended `wait`, not the command
    wait "$load"
    code=$?
done
exit "$code"
