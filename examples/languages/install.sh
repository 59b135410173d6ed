#!/bin/sh
# The toolchains that the steps of this folder need, where Debian's package manager may be used. It never fails: the
# tests of what is missing are skipped.
packages="g++ libcurl4-openssl-dev r-base-core r-cran-curl default-jdk-headless nodejs golang-go"
dpkg -s $packages >/dev/null 2>&1 && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "examples/languages: run me as root on Debian, or install $packages by other means"
  exit 0
fi
apt-get update -qq
for package in $packages; do
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$package" >/dev/null 2>&1 ||
    echo "examples/languages: $package could not be installed"
done
exit 0
