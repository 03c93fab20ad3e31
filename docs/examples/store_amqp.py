"""Prices over AMQP: store_amqp.py AMQP_URL STORE PRICES.csv    (columns label,name,price,currency)

Exit code 0 if every label shows its price. Interrupted or not, it may be run again: the same file makes the same tasks.
"""
import csv
import json
import os
import sys
import time
import uuid

import pika

url, store, path = sys.argv[1:]
version = int(os.path.getmtime(path) * 1000)  # grows with every change of the file
tasks = {}
with open(path, newline="", encoding="utf-8") as file:
    for row in csv.DictReader(file):
        label = row.pop("label")
        task_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{store}/{label}/{version}"))
        tasks[task_id] = {"task_id": task_id, "store": store, "action": "price_update", "labels": [label],
                          "version": version, "fields": row}
queue = f"{store}.prices.{version}"
confirmed, waiting, shown = set(), set(tasks), 0


def connect():
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.confirm_delivery()  # from now on basic_publish() returns when RabbitMQ has the task on disk
    channel.exchange_declare("esl.results", "topic", durable=True)
    channel.queue_declare(queue, durable=True)
    channel.queue_bind(queue, "esl.results", f"{store}.*")
    return channel


def publish(channel):
    for task_id in tasks.keys() - confirmed:
        body = json.dumps(tasks[task_id])
        channel.basic_publish("", "esl.tasks", body, pika.BasicProperties(delivery_mode=2), mandatory=True)
        confirmed.add(task_id)


def take_results(channel):
    global shown
    for method, _, body in channel.consume(queue):
        result = json.loads(body)
        if result["task_id"] in waiting:  # a result may come twice, and others' results come here, too
            waiting.remove(result["task_id"])
            shown += result["outcome"] == "shown"
            print(result["label"], result["outcome"], result.get("reason", ""), flush=True)
        channel.basic_ack(method.delivery_tag)
        if not waiting:
            return


while waiting:
    try:
        channel = connect()
        publish(channel)
        take_results(channel)
        channel.queue_delete(queue)
        channel.connection.close()
    except (pika.exceptions.AMQPError, OSError) as error:
        print(f"again in a second: {error!r}", file=sys.stderr)  # what was not confirmed is published again
        time.sleep(1)
sys.exit(shown < len(tasks))
