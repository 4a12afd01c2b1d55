#!/bin/sh
cat <<'END'
{"web": {"hosts": ["web-1"]}, "_meta": {"hostvars": {"web-1": {"user": "deploy", "password": {"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256\n333639"}}}}}
END
