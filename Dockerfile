# SPDX-License-Identifier: Apache-2.0

# The image of a program: a static binary and CA certificates. No shell, no root.
#
#   docker build --build-arg VERSION=0.1.0 --build-arg COMMIT=$(git rev-parse HEAD) .
#
# The same image without Docker: "make image". For another architecture add
# --platform linux/arm64: the compiler runs on this machine's architecture. Where the usual servers cannot be reached,
# name mirrors with --build-arg GO_IMAGE=... and --build-arg GOPROXY=...
# The full name of the base image also works with buildah and podman. The digest is of the tag's index of all
# platforms, so that the compiler is the same each time. Change both together:
#   docker buildx imagetools inspect docker.io/library/golang:1.26.8-bookworm
ARG GO_IMAGE=docker.io/library/golang:1.26.8-bookworm@sha256:a688600ca24f8a4d3ca77f95b0dd40704a9fc787c826660eb7ba0b641b8b175d

FROM --platform=${BUILDPLATFORM} ${GO_IMAGE} AS build
ARG PROGRAM=teamtalk-operator
ARG VERSION
ARG COMMIT
ARG TARGETOS=linux
ARG TARGETARCH
# Where modules come from; unset: Go's default. go.sum holds their checksums.
ARG GOPROXY
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
