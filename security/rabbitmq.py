#!/usr/bin/env python3
"""Makes RabbitMQ's users with the permissions in rabbitmq.permissions, beside this file.

    TASK_WORKER_PASSWORD=... FWD_ROUTER_PASSWORD=... rabbitmq.py http://ADMIN:PASSWORD@HOST:15672 [VHOST]

By the management API; VHOST is / unless given. A user whose password is not in the environment is left out. Done again,
it sets passwords and permissions anew.
"""

import base64
import json
import os
import pathlib
import sys
import urllib.parse
import urllib.request


def main(url: str, vhost: str = "/") -> None:
    place = urllib.parse.urlsplit(url)
    login = ":".join(urllib.parse.unquote(part or "") for part in (place.username, place.password))
    headers = {
        "authorization": "Basic " + base64.b64encode(login.encode()).decode(),
        "content-type": "application/json",
    }

    def put(path: str, body: dict) -> None:
        address = f"{place.scheme}://{place.netloc.rpartition('@')[2]}/api/{path}"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers, method="PUT")
        urllib.request.urlopen(request, timeout=30).close()

    for line in pathlib.Path(__file__).with_name("rabbitmq.permissions").read_text().splitlines():
        if line.startswith("#"):
            continue
        user, configure, write, read = line.split()
        password = os.environ.get(user.replace("-", "_").upper() + "_PASSWORD")
        if not password:
            continue
        put(f"users/{user}", {"password": password, "tags": ""})
        permissions = {"configure": configure, "write": write, "read": read}
        put(f"permissions/{urllib.parse.quote(vhost, safe='')}/{user}", permissions)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
