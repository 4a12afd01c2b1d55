"""Judges Writ's documents with tools that are not Writ's.

Reads one JSON object from stdin: {"envelopes": [{"name", "json", "keys": [{"pem", "keyId"}], "threshold"}], "statements": [{"name", "payload"}]}.
Writes one: {"envelopes": {name: signers or an error's text}, "statements": {name: predicate type or an error's text}}.
"""

import base64
import json
import sys

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey


def envelope(case):
    parsed = Envelope.from_dict(json.loads(case["json"]))
    keys = [SSlibKey.from_crypto(load_pem_public_key(k["pem"].encode()), keyid=k["keyId"]) for k in case["keys"]]
    try:
        return len(parsed.verify(keys, case["threshold"]))
    except VerificationError as error:
        return f"refused: {error}"


def statement(case):
    message = json_format.Parse(base64.b64decode(case["payload"]), statement_pb2.Statement())
    parsed = Statement.copy_from_pb(message)
    try:
        parsed.validate()
    except ValueError as error:
        return f"refused: {error}"
    return parsed.pb.predicate_type


asked = json.load(sys.stdin)
json.dump(
    {
        "envelopes": {case["name"]: envelope(case) for case in asked["envelopes"]},
        "statements": {case["name"]: statement(case) for case in asked["statements"]},
    },
    sys.stdout,
)
