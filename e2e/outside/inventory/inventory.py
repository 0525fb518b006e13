# An inventory: a table of all that the platform runs, kept up to date in a CSV file, as a CMDB would. It lives
# outside the platform and on its events alone, with no code of the platform: a .creds file, nats-py, and one file of
# its own.
# Invariants: of each thing the newest word stands (its sequence is compared); the files are on disk before the broker
# hears that an event was taken. A kill at any moment costs a repeat at most.
#
#   python3 inventory.py --creds inventory.creds --out inventory.csv [--server nats://127.0.0.1:7400]
import argparse
import asyncio
import base64
import csv
import json
import os
import re
import signal
import sys

import nats
from nats.errors import Error as NatsError

COLUMNS = ["kind", "name", "display_name", "owner", "zone", "state", "labels"]


def account_in(creds):
    """The account that the credentials belong to is also the name of its consumers."""
    token = re.search(r"BEGIN NATS USER JWT-+\s+(\S+)", creds).group(1)
    body = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims["nats"]["issuer_account"]


def state_word(thing):
    status = thing.get("status") or {}
    word = status.get("state") or thing.get("state") or status.get("link") or ""
    return re.sub(r"^[A-Z]+_", "", word)


class Inventory:
    """What is known, by resource name; gone things keep their sequence, so that no older word brings them back."""

    def __init__(self, file):
        self.file = file
        self.memory = file + ".json"
        self.synced = False
        self.things = {}
        if os.path.exists(self.memory):
            with open(self.memory, encoding="utf-8") as source:
                kept = json.load(source)
            self.synced, self.things = kept["synced"], kept["things"]

    def take(self, event):
        name, sequence = event["subject"], int(event["sequence"])
        known = self.things.get(name)
        if known and sequence <= known["sequence"]:
            return
        thing = (event.get("data") or {}).get("new")
        if thing is None:
            self.things[name] = {"sequence": sequence, "row": None}
            return
        header = thing.get("header") or {}
        self.things[name] = {
            "sequence": sequence,
            "row": {
                "kind": event["type"].split(".")[2],
                "name": name,
                "display_name": header.get("displayName", ""),
                "owner": header.get("owner", ""),
                "zone": header.get("zone", ""),
                "state": state_word(thing),
                "labels": ";".join(f"{key}={value}" for key, value in sorted((header.get("labels") or {}).items())),
            },
        }

    def write(self):
        rows = [known["row"] for known in self.things.values() if known["row"]]
        rows.sort(key=lambda row: (row["kind"], row["name"]))
        with open(self.file + ".new", "w", encoding="utf-8", newline="") as target:
            table = csv.DictWriter(target, COLUMNS)
            table.writeheader()
            table.writerows(rows)
        os.replace(self.file + ".new", self.file)
        # Last, since it says what the table has.
        with open(self.memory + ".new", "w", encoding="utf-8") as target:
            json.dump({"synced": self.synced, "things": self.things}, target)
            target.flush()
            os.fsync(target.fileno())
        os.replace(self.memory + ".new", self.memory)


async def take_some(subscription, inventory, wait):
    """Takes what there is, writes once, and only then says that it has it."""
    try:
        messages = await subscription.fetch(200, timeout=wait)
    except (asyncio.TimeoutError, NatsError):
        return
    for message in messages:
        inventory.take(json.loads(message.data))
    inventory.write()
    for message in messages:
        await message.ack()


async def main():
    parser = argparse.ArgumentParser(description="Keeps a table of all that a Nephos platform runs.")
    parser.add_argument("--creds", required=True, help="file of credentials")
    parser.add_argument("--out", default="inventory.csv", help="the table")
    parser.add_argument("--server", default="nats://127.0.0.1:7400", help="the broker")
    options = parser.parse_args()
    with open(options.creds, encoding="utf-8") as source:
        account = account_in(source.read())

    async def complain(error):
        print(f"the broker: {error}", file=sys.stderr, flush=True)

    connection = await nats.connect(
        options.server,
        user_credentials=options.creds,
        name="inventory",
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.5,
        error_cb=complain,
    )
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    streams = connection.jetstream(domain="nephos")
    inventory = Inventory(options.out)

    # First all that is, then what changes. Both tell of a thing by the same sequence: an overlap does no harm.
    state = await streams.pull_subscribe_bind(consumer=account, stream="NEPHOS_STATE")
    while not inventory.synced and not stopping.is_set():
        if (await state.consumer_info()).num_pending > 0:
            await take_some(state, inventory, 1)
        else:
            inventory.synced = True
    inventory.write()
    print(f"{len(inventory.things)} things known; following", flush=True)
    events = await streams.pull_subscribe_bind(consumer=account, stream="NEPHOS_EVENTS")
    while not stopping.is_set():
        await take_some(events, inventory, 2)
    await connection.drain()


asyncio.run(main())
