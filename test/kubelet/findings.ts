/** Errors that a kubelet logs with any runtime, or that a check causes. Each has its reason. */
const expected: readonly RegExp[] = [
  // Errors that the checks provoke.
  /SignatureValidationFailed/,
  /ENTITLEMENTS_CEILING_EXCEEDED/,
  /CrashLoopBackOff|ImagePullBackOff/,
  // Errors while a check has stopped the daemon.
  /dial unix .*(no such file or directory|connection refused)|error reading from server|code = Unavailable|ImageInspectError/,
  // The kubelet requests objects that it has just removed (with containerd as well), or cancels an abandoned
  // request.
  /(ContainerStatus from runtime service failed|get container status).*NotFound/,
  /context canceled/,
  // A pod that ended is removed while it is started again.
  /etc-hosts`?: no such file or directory/i,
  // The kubelet's bookkeeping of pods whose containers never started.
  /Missing actuated pod level resource record/,
];

/** Source files of the kubelet's CRI client, and of the code that logs its errors. */
const criSources =
  /\b(remote_runtime|remote_image|kuberuntime_\w+|cri_stats_provider|image_gc_manager|image_manager|pleg\/generic|generic)\.go:/;

/** Returns every distinct error that the kubelet logged about the CRI, without ids and times. */
export function findings(log: string): readonly string[] {
  const said = records(log)
    .filter((line) => /^E\d{4} /.test(line) && (criSources.test(line) || line.includes('rpc error')))
    .filter((line) => !expected.some((pattern) => pattern.test(line)))
    .map((line) => line.replace(/^E\d{4} \S+\s+\d+ /, '').replaceAll(/[0-9a-f]{13,64}/g, 'ID'))
    .map((line) => line.slice(0, 500));
  return [...new Set(said)];
}

/** Returns the records of klog. A multi-line value continues in lines that begin with a tab, up to ` >`. */
function records(log: string): string[] {
  const all: string[] = [];
  for (const line of log.split('\n')) {
    if (/^[IWEF]\d{4} /.test(line) || all.length === 0) all.push(line);
    else all.push(`${all.pop() ?? ''} ${line.trim()}`);
  }
  return all;
}
