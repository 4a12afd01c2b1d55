#!/bin/sh
cat <<'END'
{"all": {"hosts": ["one"], "children": ["web"], "vars": {"a": 1}}, "web": {"hosts": ["two"]}, "_meta": {"hostvars": {}}}
END
