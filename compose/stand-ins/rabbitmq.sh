# As the official image: a user from the environment.
set -eu
printf 'default_user = %s\ndefault_pass = %s\nloopback_users = none\n' \
    "$RABBITMQ_DEFAULT_USER" "$RABBITMQ_DEFAULT_PASS" > /etc/rabbitmq/rabbitmq.conf
chown rabbitmq /var/lib/rabbitmq
exec rabbitmq-server "$@"
