"""As the official image: a user from the environment, made while MongoDB listens on loopback only."""
import os
import subprocess
import sys

import pymongo

mongod = ["mongod", "--dbpath", "/data/db"]
if not os.path.exists("/data/db/WiredTiger"):
    preparing = subprocess.Popen(mongod + ["--bind_ip", "127.0.0.1"])
    admin = pymongo.MongoClient("127.0.0.1").admin
    admin.command(
        "createUser",
        os.environ["MONGO_INITDB_ROOT_USERNAME"],
        pwd=os.environ["MONGO_INITDB_ROOT_PASSWORD"],
        roles=["root"],
    )
    preparing.terminate()
    preparing.wait()
os.execvp("mongod", mongod + ["--auth", "--bind_ip_all"] + sys.argv[1:])
