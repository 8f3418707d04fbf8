#!/usr/bin/env bash
# Runs the unit tests on each Python that pyproject.toml promises and this machine has, or can install by itself.
# They need no server, and get no uvloop: the worker runs without it, too. A Python that cannot be had is named, and
# is no failure; a test that fails is one.
# Usage: deploy/test_pythons.sh [arguments of pytest]
set -euo pipefail
unset CDPATH PYTHONPATH PYTHONHOME   # of other programs
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# Prints the path of a Python of this version: one on the PATH, of pyenv, or of uv.
find_python() {
  local version=$1 candidate
  for candidate in "$(command -v "python$version")" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python \
    "${XDG_DATA_HOME:-$HOME/.local/share}/uv/python/cpython-$version".*/bin/python; do
    if [[ -x $candidate && $(version_of "$candidate") == "$version" ]]; then
      printf '%s' "$candidate"
      return
    fi
  done
  return 1
}

# Installs the system's package of this version, where there is one and this user may.
install_python() {
  (( EUID == 0 )) && command -v apt-get >/dev/null && apt-cache show "python$1-venv" >/dev/null 2>&1 &&
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
      install -y --no-install-recommends "python$1" "python$1-venv" >/dev/null
}

summary=() failed=0
for version in $(sed -nE 's/^ *"Programming Language :: Python :: (3\.[0-9]+)".*/\1/p' pyproject.toml); do
  if ! python=$(find_python "$version") && ! { install_python "$version" && python=$(find_python "$version"); }; then
    summary+=("Python $version: not run, for it is not on this machine")
    continue
  fi
  venv=.pythons/$version
  mkdir -p .pythons
  deploy/setup.sh dev "$venv" "$python"
  printf '\n%s:\n' "$("$venv/bin/python" --version)"
  # Its programs come first on the PATH, as in a shell that has activated it.
  if "$venv/bin/python" -m pip uninstall --quiet --yes uvloop &&
     PATH="$PWD/$venv/bin:$PATH" "$venv/bin/python" -m pytest tests/unit -q "$@"; then
    summary+=("Python $version: passed")
  else
    summary+=("Python $version: FAILED")
    failed=1
  fi
done

printf '\nThe unit tests on each Python, without uvloop:\n'
printf '  %s\n' "${summary[@]}"
exit "$failed"
