/** Errors that a kubelet logs whatever runtime it stands on, or because of what a check does to it; each with its reason. */
const expected: readonly RegExp[] = [
  // What the checks ask for.
  /SignatureValidationFailed/,
  /ENTITLEMENTS_CEILING_EXCEEDED/,
  /CrashLoopBackOff|ImagePullBackOff/,
  // While a check has the daemon away.
  /dial unix .*(no such file or directory|connection refused)|error reading from server|code = Unavailable|ImageInspectError/,
  // The kubelet asks for what it has just removed (with containerd as well), or gives up a question that nobody waits for.
  /(ContainerStatus from runtime service failed|get container status).*NotFound/,
  /context canceled/,
  // A pod that ended goes while it is started once more.
  /etc-hosts`?: no such file or directory/i,
  // Its own book-keeping of pods whose containers never started.
  /Missing actuated pod level resource record/,
];

/** Sources of the kubelet's CRI client and of what is told by it. */
const criSources =
  /\b(remote_runtime|remote_image|kuberuntime_\w+|cri_stats_provider|image_gc_manager|image_manager|pleg\/generic|generic)\.go:/;

/** Every error that the kubelet logged about the CRI, once each, ids and times taken out. */
export function findings(log: string): readonly string[] {
  const said = records(log)
    .filter((line) => /^E\d{4} /.test(line) && (criSources.test(line) || line.includes('rpc error')))
    .filter((line) => !expected.some((pattern) => pattern.test(line)))
    .map((line) => line.replace(/^E\d{4} \S+\s+\d+ /, '').replaceAll(/[0-9a-f]{13,64}/g, 'ID'))
    .map((line) => line.slice(0, 500));
  return [...new Set(said)];
}

/** klog's records: a value of several lines goes on in lines that begin with a tab, up to ` >`. */
function records(log: string): string[] {
  const all: string[] = [];
  for (const line of log.split('\n')) {
    if (/^[IWEF]\d{4} /.test(line) || all.length === 0) all.push(line);
    else all.push(`${all.pop() ?? ''} ${line.trim()}`);
  }
  return all;
}
