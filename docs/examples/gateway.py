"""A gateway: gateway.py HOST:PORT GATEWAY_MAC LABEL_MAC...    (MACs as 12 lowercase hexadecimal digits)

It writes to no label, but says what each of them would show. What a real one does otherwise is in write() and hear().
"""
import json
import queue
import random
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

(host, port), mac, labels = sys.argv[1].split(":"), sys.argv[2], sys.argv[3:]
ACTION, RESPONSE, STATUS = (f"/gw/{mac}/{channel}" for channel in ("action", "response", "status"))
commands = queue.Queue(maxsize=256)  # those that wait for their turn


def write(command):
    """Writes to a label, and returns the error, or None if the label has taken it."""
    if command["deviceMac"] not in labels:
        return "invalid_parameters"
    if command["type"] == "price_update":
        time.sleep(0.05)  # Bluetooth
        print(command["deviceMac"], "shows", command["fields"]["price"], flush=True)
    elif command["type"] != "ping":
        return "invalid_opcode"


def hear():
    return [{"mac": label, "rssi": random.randint(-70, -60), "battery_mv": 2950} for label in labels]


def answer(command, error):
    body = {"deviceMac": command["deviceMac"], "id": command["id"], "ack": error is None}
    client.publish(RESPONSE, json.dumps(body | ({"error": error} if error else {})), qos=1)


def on_connect(client, userdata, flags, reason, properties):
    client.subscribe(ACTION, qos=1)
    client.publish(STATUS, '{"online":true}', qos=1)


def on_message(client, userdata, message):  # must not take long: it holds up the connection
    command = json.loads(message.payload)
    expiry = getattr(message.properties, "MessageExpiryInterval", 3600)
    try:
        commands.put_nowait((command, time.monotonic() + expiry))
    except queue.Full:
        answer(command, "queue_full")


def work():  # one after the other, so that a label never goes back to an older price
    while True:
        command, deadline = commands.get()
        if time.monotonic() < deadline:  # else nobody waits for it, and a newer price may be shown
            answer(command, write(command))


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"gw-{mac}", protocol=mqtt.MQTTv5)
client.on_connect, client.on_message = on_connect, on_message
client.will_set(STATUS, '{"online":false}', qos=1)
session = Properties(PacketTypes.CONNECT)
session.SessionExpiryInterval = 3600  # commands that come while we are away are kept
client.connect_async(host, int(port), clean_start=False, properties=session)
client.loop_start()  # connects again by itself, too
threading.Thread(target=work, daemon=True).start()
while True:
    if client.is_connected():
        client.publish(STATUS, json.dumps({"labels": hear()}))
    time.sleep(2)
