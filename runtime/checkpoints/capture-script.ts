/** See proc_pid_oom_score_adj(5). */
const oomScore = 900;

/** The folder of criu's images in the folder of a checkpoint, and in its archive. */
export const imagesFolder = 'checkpoint';

/**
 * Freezes a container, makes runc write its processes, copies its changed files, and thaws it. A separate
 * process does all of this, so that the container is thawed also if the daemon has ended. Whatever fails, the
 * last step thaws the container. It marks its begin with `true`, because a shell ends if the redirection of a
 * special built-in such as `:` fails, as on a full disk.
 *
 * `$0` is the folder of the checkpoint (which identifies the process), `$1` the OCI runtime, `$2` its state,
 * `$3` the container, `$4` the writable layer or an empty text, `$5` the maximum number of 512-byte blocks of
 * its archive. The programs that need much memory do not have the OOM score of the daemon: under pressure the
 * kernel ends them, and the script thaws the container. Exit codes: 10 freezing, 11 criu, 12 the files.
 */
export const captureScript = String.raw`
ending() { true > "$0/ending"; "$1" --root "$2" resume "$3" >/dev/null 2>&1; }
trap 'ending "$@"' EXIT
trap : TERM
"$1" --root "$2" pause "$3" || exit 10
( echo ${oomScore} > /proc/self/oom_score_adj
  exec "$1" --root "$2" checkpoint --leave-running \
    --image-path "$0/${imagesFolder}" --work-path "$0/work" "$3" ) || exit 11
[ -n "$4" ] || exit 0
cd "$4" || exit 12
find . -xdev -type c -exec stat --printf '%t:%T %n\0' {} + > "$0/devices" || exit 12
find . -xdev ! -type c ! -type b -print0 > "$0/names" || exit 12
( echo ${oomScore} > /proc/self/oom_score_adj
  ulimit -f "$5"
  exec tar --create --file "$0/rootfs-diff.tar" --numeric-owner --sparse --acls --xattrs \
    --no-recursion --null --files-from "$0/names" ) || exit 12
`;

/** A step of the script, as the node could not do it, and what to do then. */
interface CaptureStep {
  readonly step: string;
  readonly fix: string;
}

/** The step at which the script failed, by its exit code. */
export const captureSteps: Readonly<Record<number, CaptureStep>> = {
  10: { step: 'freeze the container', fix: 'check whether the container still runs' },
  11: {
    step: 'write its processes',
    fix: 'read the reason, because criu does not support every kind of process',
  },
  12: {
    step: 'read its files',
    fix: 'check whether its changed files are larger than `checkpoint.maxSize`, and whether the disk has free space',
  },
};

/** Returns the step of a script that was ended by something else. */
export function interrupted(exitCode: number): CaptureStep {
  return {
    step: `run to its end (exit code ${exitCode})`,
    fix: 'repeat the request, and read the log of the kernel if it fails again',
  };
}
