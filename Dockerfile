# syntax=docker/dockerfile:1
# The image: Node.js, the program, and nothing else (no shell, no package manager). scripts/stage-root.mjs decides
# what is in it; test/e2e/image.test.ts runs the same script into an empty folder and the program inside it.
#
#   docker build --build-arg NODE_DIGEST=sha256:… -t sallyport .
#
# The base is pinned by digest, and there is no default: look it up (docker buildx imagetools inspect node:24-bookworm-slim), review it, keep it in your build.
ARG NODE_DIGEST
FROM node:24-bookworm-slim@${NODE_DIGEST} AS build
ARG SOURCE_DATE_EPOCH=0
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH}
# Compiles the native engine; nothing of it is in the image.
RUN apt-get update -q && apt-get install -q -y --no-install-recommends g++
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY . .
RUN npm run --silent build && node scripts/stage-root.mjs /root-of-image

FROM scratch
COPY --from=build /root-of-image /
COPY --from=build --chown=65532:65532 /root-of-image/var/lib/sallyport /var/lib/sallyport
# The audit log and the usage store; mount a volume that outlives the container.
VOLUME /var/lib/sallyport
WORKDIR /var/lib/sallyport
USER 65532:65532
# A smaller young generation: 40 MB less at rest and half as much for each idle tunnel (docs/benchmarks.md).
ENV NODE_ENV=production SALLYPORT_CONFIG=/etc/sallyport/sallyport.yaml NODE_OPTIONS=--max-semi-space-size=2
EXPOSE 3128
# It drains: give it longer than limits.drain_timeout_ms (docker stop --time).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["/usr/local/bin/node", "/opt/sallyport/dist/main.js", "health"]
ENTRYPOINT ["/usr/local/bin/node", "/opt/sallyport/dist/main.js"]
CMD ["serve"]
