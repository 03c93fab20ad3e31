#!/bin/sh
# Starts Mosquitto with the passwords of the routers and the emulator from the environment, and those of the gateways
# from their file (lines as mosquitto_passwd writes them).
set -eu
umask 077
passwords=/mosquitto/data/passwords
cp /mosquitto/config/gateways "$passwords"
mosquitto_passwd -b "$passwords" fwd-router "$MQTT_PASSWORD"
mosquitto_passwd -b "$passwords" bck-router "$MQTT_PASSWORD"
mosquitto_passwd -b "$passwords" emulator "$MQTT_EMULATOR_PASSWORD"
chown mosquitto "$passwords"
exec mosquitto -c /mosquitto/config/mosquitto.conf
