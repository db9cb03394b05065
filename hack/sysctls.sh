#!/bin/sh
# Raises what the testbed needs of the kernel, and lowers nothing. Usage: SUDO=sudo sh hack/sysctls.sh
#
#   fs.inotify.*            each kubelet, containerd and API server takes some; without them nodes never become Ready
#   kernel.apparmor_...     some systems forbid the namespaces of the local provider to everybody but root
set -eu

raise() { # name, wanted
    now=$(cat "/proc/sys/$(echo "$1" | tr . /)")
    [ "$now" -ge "$2" ] || put "$1" "$2"
}

put() { # name, value
    ${SUDO:-} sysctl -q -w "$1=$2" || {
        echo "sysctls: cannot set $1=$2: be root, or say how to become it: make sysctls SUDO=sudo" >&2
        exit 1
    }
    echo "sysctls: $1=$2"
}

raise fs.inotify.max_user_instances 1024
raise fs.inotify.max_user_watches 524288
restricted=kernel/apparmor_restrict_unprivileged_userns
if [ "$(cat /proc/sys/$restricted 2>/dev/null || echo 0)" != 0 ]; then
    put kernel.apparmor_restrict_unprivileged_userns 0
fi
