# What a host does for `writ … --ssh`, for any POSIX shell. All that it is told comes in lines on standard input: no word of anybody's is part of this text.
say() { printf 'writ-ssh %s\n' "$*"; }
no() { say "no $*"; exit 1; }
dir= agent=
# However this ends, the agent ends first, and then the folder goes.
leave() {
    trap '' HUP INT PIPE TERM
    if [ -n "$agent" ]; then
        kill -TERM "$agent" 2>/dev/null
        left=30
        while [ "$left" -gt 0 ] && kill -0 "$agent" 2>/dev/null; do sleep 1; left=$((left - 1)); done
        kill -KILL "$agent" 2>/dev/null
    fi
    cd /
    [ -z "$dir" ] || rm -rf -- "$dir"
}
trap leave EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM
IFS= read -r machine && IFS= read -r size && IFS= read -r sum && IFS= read -r silence && IFS= read -r base || exit 1
here="$(uname -s) $(uname -m)"
[ "$here" = "$machine" ] || no platform "$here"
if [ -z "$base" ]; then
    base=${XDG_RUNTIME_DIR:-/tmp}
    [ -d "$base" ] && [ -w "$base" ] || base=/tmp
fi
mask=$(umask)
umask 077
dir=$(mktemp -d "$base/writ-ssh.XXXXXXXXXX" 2>/dev/null) || no folder "$base"
say send
head -c "$size" >"$dir/writ-agent" || no bytes "$base"
if command -v sha256sum >/dev/null 2>&1; then got=$(sha256sum <"$dir/writ-agent"); else got=$(shasum -a 256 <"$dir/writ-agent"); fi
[ "${got%% *}" = "$sum" ] || no bytes "$base"
chmod 700 "$dir/writ-agent"
"$dir/writ-agent" --version >/dev/null 2>&1 || no start "$? $base"
say speak
umask "$mask"
cd /
# A program in the background is given no input of its own unless it is named.
exec 3<&0 </dev/null
"$dir/writ-agent" once --state "$dir/state" --silence "$silence" <&3 3<&- &
agent=$!
exec 3<&-
wait "$agent"
ended=$?
agent=
exit "$ended"
