#!/bin/sh
# Whether the broker answers a login. It refuses this one, which has no name (5), unless the policy admits such (0).
status=0
timeout 5 mosquitto_pub -V 311 -h 127.0.0.1 -p "${MQTT_PORT:-1883}" -t health -n >/dev/null 2>&1 || status=$?
[ "$status" = 5 ] || [ "$status" = 0 ]
