# One image per role: docker build --target fwd-router .
#
# BINARIES says where the programs come from: `build` compiles them here, from Cargo.lock; `prebuilt` takes them from
# dist/, where `make dist` puts what was compiled outside, for engines whose builds reach no crate registry. Either way
# they must be linked to a glibc no newer than RUNTIME_IMAGE's.
ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot
ARG BINARIES=build

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --workspace --bins \
    && install -D -t /programs target/dist/task-worker target/dist/fwd-router target/dist/bck-router \
       target/dist/store-api target/dist/gateway-emulator target/dist/standalone target/dist/esl
WORKDIR /empty

FROM scratch AS prebuilt
COPY dist/ /programs/
WORKDIR /empty

FROM ${BINARIES} AS programs

# Neither shell nor packages: glibc, libgcc and the certificates of public authorities. Nothing is written to the root
# filesystem, so it may be read-only.
FROM ${RUNTIME_IMAGE} AS runtime
USER 65532:65532
ENV ADMIN_ADDR=0.0.0.0:9000 LOG_FORMAT=json
EXPOSE 9000
STOPSIGNAL SIGTERM

FROM runtime AS task-worker
COPY --from=programs /programs/task-worker /usr/local/bin/
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/local/bin/task-worker", "--health"]
ENTRYPOINT ["/usr/local/bin/task-worker"]

FROM runtime AS fwd-router
COPY --from=programs /programs/fwd-router /usr/local/bin/
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/local/bin/fwd-router", "--health"]
ENTRYPOINT ["/usr/local/bin/fwd-router"]

FROM runtime AS bck-router
COPY --from=programs /programs/bck-router /usr/local/bin/
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/local/bin/bck-router", "--health"]
ENTRYPOINT ["/usr/local/bin/bck-router"]

# Serves others than itself only with API_TOKENS, a file to be mounted.
FROM runtime AS store-api
COPY --from=programs /programs/store-api /usr/local/bin/
ENV API_ADDR=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/local/bin/store-api", "--health"]
ENTRYPOINT ["/usr/local/bin/store-api"]

FROM runtime AS gateway-emulator
COPY --from=programs /programs/gateway-emulator /usr/local/bin/
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/local/bin/gateway-emulator", "--health"]
ENTRYPOINT ["/usr/local/bin/gateway-emulator"]

# A volume takes its owner from the folder here; one from elsewhere must belong to 65532. The API serves others than
# itself with API_ADDR and API_TOKENS only.
FROM runtime AS standalone
COPY --from=programs /programs/standalone /usr/local/bin/
COPY --from=programs --chown=65532:65532 /empty /data
VOLUME /data
ENV DATA_DIR=/data MQTT_LISTEN=0.0.0.0:1883
EXPOSE 1883 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/usr/local/bin/standalone", "--health"]
ENTRYPOINT ["/usr/local/bin/standalone"]

# A command, not a service.
FROM runtime AS esl
COPY --from=programs /programs/esl /usr/local/bin/
HEALTHCHECK NONE
ENTRYPOINT ["/usr/local/bin/esl"]
