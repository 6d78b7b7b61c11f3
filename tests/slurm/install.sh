#!/bin/sh
# What `make test-slurm` starts a cluster with: commands, installed from Debian's packages where they are missing, and
# namespaces for the nodes. Exit code 2 and a line that says why, where it cannot be had.
set -eu
PATH="$PATH:/usr/sbin:/sbin"
if [ "$(id -u)" != 0 ]; then echo "test-slurm: needs root (it starts daemons)" >&2; exit 2; fi
if ! unshare --uts --pid --mount-proc --fork true; then
  echo "test-slurm: needs namespaces for its two nodes, and this machine grants none (a container without --privileged?)" >&2
  exit 2
fi
missing=""
for name in munged slurmctld slurmd sbatch srun squeue scancel scontrol sinfo; do
  command -v "$name" >/dev/null || missing="$missing $name"
done
if [ -z "$missing" ]; then exit 0; fi
if ! command -v apt-get >/dev/null; then
  echo "test-slurm: not installed:$missing (Debian's packages: slurm-wlm munge)" >&2
  exit 2
fi
echo "test-slurm: installing slurm-wlm and munge"
export DEBIAN_FRONTEND=noninteractive
{ apt-get update && apt-get install -y --no-install-recommends slurm-wlm munge; } >/dev/null || {
  echo "test-slurm: slurm-wlm and munge could not be installed" >&2
  exit 2
}
