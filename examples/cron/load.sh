#!/bin/sh
# Run a tap into target-segment-objects: one run at a time, from the last STATE, with a log.
#
# Usage: load.sh [FOLDER]
#
# FOLDER has tap.json, config.json, state.json and load.log; the default is the folder of this
# script. The commands are in .venv/bin beside this script, or on the PATH. POSIX sh is enough; flock
# comes with util-linux. With LOG=- the log goes to standard error, where orchestrators expect it.

scripts=$(cd "$(dirname "$0")" && pwd) || exit 1
PATH="$scripts/.venv/bin:$PATH"
cd "${1:-$scripts}" || exit 1
umask 077 # state and log are private

: "${TAP:=tap-x --config tap.json}" # change tap-x to your tap
: "${TARGET:=target-segment-objects --config config.json}"
: "${LOG:=load.log}"

log() {
    echo "$(date -u '+%Y-%m-%dT%H:%M:%SZ') load.sh: $*" >&2
}

# Keeps the last line of state.json. A line without its end is left from a crash: the one before counts.
keep_last_state() {
    if [ -z "$(tail -c 1 state.json)" ]; then
        tail -n 1 state.json
    else
        tail -n 2 state.json | sed '$d'
    fi > state.json.tmp && mv state.json.tmp state.json
}

run() {
    exec 9> load.lock
    if ! flock -n 9; then
        log "another run has not ended yet; this one does nothing"
        return 75
    fi

    touch state.json
    keep_last_state || return 1 # a run that was killed left more than one line
    set --
    [ -s state.json ] && set -- --state state.json # before the first run there is none

    log "start: $TAP | $TARGET"
    # The exit code of a pipeline is that of its last command, so the tap's goes to a file.
    rm -f tap.exit target.exit
    # shellcheck disable=SC2086 # TAP and TARGET are commands with arguments
    { $TAP "$@"; echo $? > tap.exit; } | $TARGET >> state.json
    target_code=$?
    echo "$target_code" > target.exit
    tap_code=$(cat tap.exit 2> /dev/null || echo 143) # without the file, a signal ended its shell

    keep_last_state || return 1
    log "end: exit code $tap_code of the tap, $target_code of the target"
    [ "$target_code" -eq 0 ] || return "$target_code"
    return "$tap_code"
}

trap : INT TERM # the tap and the target get the signal themselves; this script ends after them
if [ "$LOG" = - ]; then
    run
    exit
fi
{ run; } 2>> "$LOG"
code=$?

# The alert: cron sends what is printed here by mail. Replace it with a call of your own.
if [ "$code" -ne 0 ]; then
    echo "$0 failed with exit code $code in $PWD. The end of $LOG:"
    tail -n 20 "$LOG"
fi
exit "$code"
