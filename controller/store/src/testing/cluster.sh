# A throw-away PostgreSQL that lives exactly as long as its standard input stays open. Run as `sh -c "$text" cluster "$text"`.
# Prints the folder of its socket when it is ready. WRIT_PG_BIN names the folder of the server's programs.
set -eu
trap '' PIPE
cd /
if [ "$(id -u)" = 0 ]; then
    # The server refuses to run as root.
    user=postgres
    id "$user" >/dev/null 2>&1 || user=nobody
    exec setpriv --reuid="$(id -u "$user")" --regid="$(id -g "$user")" --clear-groups sh -c "$1" cluster "$1"
fi
bin=${WRIT_PG_BIN:-$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)}
# Short, because the path of a socket may have 107 bytes.
dir=$(mktemp -d /tmp/writ-pg.XXXXXX)
finish() {
    trap - EXIT
    "$bin/pg_ctl" stop --pgdata="$dir/data" --mode=immediate --silent >/dev/null 2>&1 || true
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM
# Making a cluster takes most of the time, and every test has its own: it is made once a user and version, and copied.
seed=/tmp/writ-pg-seed.$(id -u).$("$bin/postgres" --version | tr -c 'a-zA-Z0-9.\n' '_')
if [ ! -d "$seed" ]; then
    "$bin/initdb" --pgdata="$dir/seed" --username=writ --auth=trust --encoding=UTF8 --locale=C --no-sync >"$dir/initdb.log" 2>&1 \
        || { cat "$dir/initdb.log"; exit 1; }
    # Whole or not at all; where another process was first, its one is as good.
    mv -T "$dir/seed" "$seed" 2>/dev/null || true
fi
# The folder of temporary files is everybody's: only one's own is trusted.
[ -O "$seed" ] || { echo "$seed belongs to somebody else; remove it"; exit 1; }
cp -a "$seed" "$dir/data"
cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$dir'
fsync = off
full_page_writes = off
max_connections = 60
shared_buffers = 32MB
CONF
"$bin/pg_ctl" start --pgdata="$dir/data" --log="$dir/server.log" --wait --timeout=60 --silent </dev/null >/dev/null 2>&1 \
    || { cat "$dir/server.log"; exit 1; }
echo "$dir" || true
# Ends when the process that holds the other end has ended, however it did.
read -r _ || true
