# SPDX-License-Identifier: MIT
# docs/containers.md says how it is built and run; Containerfile is a link to this file.
ARG BUILD_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
COPY packaging /src/packaging
RUN /src/packaging/container/install-packages
# What is compiled, so that a model to bake in is no reason to compile again.
COPY LICENSE meson.build meson_options.txt /src/
COPY bench /src/bench
COPY completions /src/completions
COPY docs/man/meson.build /src/docs/man/
COPY include /src/include
COPY tests/meson.build /src/tests/
COPY src /src/src
RUN /src/packaging/container/make-root /src /image
# A model of the build context to bake in. LICENSE stands for none: COPY needs a file.
ARG MODEL=LICENSE
COPY ${MODEL} /baked/
RUN rm -f /baked/LICENSE && chmod -R a+rX /baked

FROM scratch
COPY --from=build /image /
COPY --from=build /baked /models
COPY --from=build --chown=65532:65532 /state /state
# The key lives here; without a volume of yours, in one that goes with the container.
VOLUME /state
EXPOSE 8080
USER 65532:65532
ENTRYPOINT ["/usr/bin/dunlin"]
# Who reaches it is up to what is published: on 127.0.0.1, as docs/containers.md has it.
CMD ["serve", "--listen", "0.0.0.0:8080", "--insecure-listen", "--key-file", "/state/keys", "--make-key", "/models"]
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["/usr/bin/dunlin", "health"]
