# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Roots of the packages of the Debian (or Ubuntu) that runs here. Sourced after packages.sh by
# packaging/container/make-build-image and tests/vm/make-root.

# The distribution's own sources, not those of others that this machine has too.
debian_sources()
{
	local origin

	# shellcheck source=/dev/null
	origin=$(. /etc/os-release && echo "${NAME%% *}")
	# shellcheck disable=SC2016 # apt puts the values in
	apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
		'Created-By: Packages' "Origin: $origin" | sort -u
}

# debian_root FOLDER VARIANT PACKAGE...: sets $archive to a root of these in FOLDER, as a tar file,
# and $key to what its name has. It is made only where it is not there, or $fresh is set.
debian_root()
{
	local folder=$1 variant=$2
	local options=()
	local line part suite

	shift 2
	# shellcheck source=/dev/null
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	key=$(printf '%s\n' "$suite" "$(dpkg --print-architecture)" "$@" | sha256sum | cut -c1-16)
	archive=$folder/$key.tar
	if [ -z "${fresh:-}" ] && [ -s "$archive" ]; then
		return
	fi
	# How this machine's apt gets at its sources; mmdebstrap does not look.
	while read -r line; do
		options+=("--aptopt=$line")
	done < <(apt-config dump | grep -E '^Acquire::(https?|ftp)::' || true)
	mkdir -p "$folder"
	part=$(mktemp "$folder/part.XXXXXX")
	say "Making a root of Debian's packages (minutes)"
	if ! debian_sources | mmdebstrap --quiet --variant="$variant" --format=tar \
		--include="$(IFS=,; echo "$*")" "${options[@]}" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		"$suite" "$part" - >&2; then
		rm -f "$part"
		die 1 "mmdebstrap failed (above); are apt's lists there (apt-get update)?"
	fi
	mv "$part" "$archive"
}

# What both of them need.
check_debian()
{
	if [ "$(distro_family)" != apt ]; then
		die 2 "this system has no apt${1:+: $1}"
	fi
	if ! command -v mmdebstrap >/dev/null; then
		die 1 "mmdebstrap is missing: apt-get install mmdebstrap"
	fi
}
