# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Installs what is missing with apt. Sourced by scripts/quickstart and scripts/test.

say()
{
	printf '%s\n' "$*" >&2
}

die()
{
	local code=$1

	shift
	say "${0##*/}: $*"
	exit "$code"
}

# The machine's family, so that others get the names of their packages instead of apt's error.
distro_family()
{
	local ID='' ID_LIKE=''

	if [ -r /etc/os-release ]; then
		# shellcheck source=/dev/null
		. /etc/os-release
	fi
	case " $ID $ID_LIKE " in
	*' debian '* | *' ubuntu '*) echo apt ;;
	*' fedora '* | *' rhel '*) echo dnf ;;
	*' alpine '*) echo apk ;;
	*) echo other ;;
	esac
}

# missing_packages PACKAGE[:COMMAND]...: those not installed, one a line. A package with a command
# counts as there when the command is, wherever it came from.
missing_packages()
{
	local spec
	local -A have=()
	local names=()

	for spec in "$@"; do
		names+=("${spec%%:*}")
	done
	while read -r status name; do
		if [ "$status" = installed ]; then
			have[${name%%:*}]=1
		fi
	done < <(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${names[@]}" 2>/dev/null)

	for spec in "$@"; do
		if [ -n "${have[${spec%%:*}]:-}" ]; then
			continue
		fi
		if [ "$spec" != "${spec#*:}" ] && command -v "${spec#*:}" >/dev/null; then
			continue
		fi
		echo "${spec%%:*}"
	done
}

as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif ! command -v sudo >/dev/null; then
		die 1 "needs root to install packages and there is no sudo; as root: $*"
	elif [ -t 0 ]; then
		sudo "$@"
	else
		# Without a terminal sudo could only wait for a password that never comes.
		sudo -n "$@"
	fi
}

apt_get()
{
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
		-o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 "$@" \
		</dev/null >&2
}

# Refreshes apt's lists; without a network the lists that are there may still do.
apt_update()
{
	if ! apt_get update; then
		say "${0##*/}: apt-get update failed (no network?); trying with the lists at hand"
	fi
}

# install_packages PACKAGE...: says what, then does it; what apt has to say only where it fails.
install_packages()
{
	local log

	say "Installing with apt (a minute or two): $*"
	log=$(mktemp)
	if ! apt_get install "$@" 2>"$log"; then
		tail -n 15 "$log" >&2
		rm -f "$log"
		die 1 "apt could not install them (above). Is there a network (or a mirror in" \
			"/etc/apt)? By hand: apt-get install $*"
	fi
	rm -f "$log"
}
