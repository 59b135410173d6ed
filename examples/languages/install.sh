#!/bin/sh
# The toolchains that the steps of this folder need, where Debian's package manager may be used. It never fails: the
# tests of what is missing are skipped. Other packages than these may be named.
packages=${*:-g++ libcurl4-openssl-dev r-base-core r-cran-curl default-jdk-headless nodejs golang-go}
dpkg -s $packages >/dev/null 2>&1 && exit 0
root=
[ "$(id -u)" = 0 ] || root="sudo -n"
if ! command -v apt-get >/dev/null || ! $root true 2>/dev/null; then
  echo "examples/languages: run me as root on Debian, or install $packages by other means"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
quick="-qq -o Acquire::http::Timeout=20 -o Acquire::Retries=1"
timeout 60 $root apt-get update $quick >/dev/null 2>&1
timeout 300 $root apt-get install $quick -y --no-install-recommends $packages >/dev/null 2>&1 ||
  echo "examples/languages: not all of $packages could be installed"
exit 0
