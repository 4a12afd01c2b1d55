#!/bin/sh
[ "$1" = --list ] || exit 2
cat <<'END'
{"web": {"hosts": ["web-1", "web-2"], "vars": {"port": 80}}, "site": {"children": ["web"], "vars": {"port": 1, "site": true}},
 "db": ["db-1"], "_meta": {"hostvars": {"web-1": {"ansible_host": "10.1.0.1"}, "db-1": {"disks": [1, 2]}}}}
END
