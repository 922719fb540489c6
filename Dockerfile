# SPDX-License-Identifier: Apache-2.0

# The image of a program: a static binary and CA certificates. No shell, no root.
#
#   docker build --build-arg VERSION=0.1.0 --build-arg COMMIT=$(git rev-parse HEAD) .
#
# The same image without Docker: "make image". For another architecture add
# --platform linux/arm64: the compiler runs on this machine's architecture.
# The full name of the base image also works with buildah and podman.
ARG GO_IMAGE=docker.io/library/golang:1.26-bookworm

FROM --platform=${BUILDPLATFORM} ${GO_IMAGE} AS build
ARG PROGRAM=teamtalk-operator
ARG VERSION
ARG COMMIT
ARG TARGETOS=linux
ARG TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN VERSION=${VERSION} COMMIT=${COMMIT} GOOS=${TARGETOS} GOARCH=${TARGETARCH} hack/image/rootfs cmd/${PROGRAM} /rootfs

FROM scratch
ARG PROGRAM=teamtalk-operator
ARG VERSION
ARG COMMIT
LABEL org.opencontainers.image.title=${PROGRAM} \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${COMMIT} \
      org.opencontainers.image.licenses=Apache-2.0
COPY --from=build /rootfs /
USER 65532:65532
# ENTRYPOINT takes no build argument, hence the link.
ENTRYPOINT ["/entrypoint"]
