# The image of one of the programs: a static binary and the certificates that
# clients trust, no shell, nothing that runs as root. "make image" builds it.
#
#   docker build --build-arg VERSION=0.1.0 --build-arg COMMIT=$(git rev-parse HEAD) .
#
# For another architecture: --platform linux/arm64; the compiler runs on this one.
# With its registry: buildah and podman know no other names where there is nobody to ask.
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
RUN VERSION=${VERSION} COMMIT=${COMMIT} GOOS=${TARGETOS} GOARCH=${TARGETARCH} hack/image/rootfs ${PROGRAM} /rootfs

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
# A link to the program: an entrypoint takes no build argument.
ENTRYPOINT ["/entrypoint"]
