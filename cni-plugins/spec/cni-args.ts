/**
 * Parses CNI_ARGS: `K=V;K2=V2` (CNI specification 1.1, section 2; `LoadArgs` of libcni's pkg/types/args.go).
 * libcni's messages leave out `CNI_`; the specification requires the name of the variable. Pure.
 * @param strict refuse names that none of our plugins reads, as upstream plugins that read arguments do,
 * unless IgnoreUnknown is true
 */
export function readCniArgs(
  text: string,
  strict: boolean,
): { readonly args: Readonly<Record<string, string>>; readonly problem?: string } {
  if (text === '') return { args: {} };
  const args: Record<string, string> = {};
  const unknown: string[] = [];
  for (const pair of text.split(';')) {
    const [name = '', value, ...more] = pair.split('=');
    if (value === undefined || more.length > 0) {
      if (strict) return { args: {}, problem: `CNI_ARGS: invalid pair ${JSON.stringify(pair)}` };
      continue;
    }
    // A name such as __proto__ must also become a plain property.
    Object.defineProperty(args, name, { value, enumerable: true, configurable: true, writable: true });
    if (!known.has(name)) unknown.push(pair);
  }
  const ignore = (args['IgnoreUnknown'] ?? '').toLowerCase();
  if (strict && ignore !== '' && !['1', 'true', '0', 'false'].includes(ignore))
    return {
      args: {},
      problem: `CNI_ARGS: error parsing value of pair "IgnoreUnknown=${args['IgnoreUnknown'] ?? ''}": neither true nor false`,
    };
  if (strict && unknown.length > 0 && ignore !== '1' && ignore !== 'true')
    return { args: {}, problem: `CNI_ARGS: unknown args ${JSON.stringify(unknown)}` };
  return { args };
}

/** The arguments that our plugins read, and those that a CRI runtime always passes. */
const known: ReadonlySet<string> = new Set([
  ...['IgnoreUnknown', 'IP', 'MAC', 'GATEWAY'],
  ...['K8S_POD_NAMESPACE', 'K8S_POD_NAME', 'K8S_POD_INFRA_CONTAINER_ID', 'K8S_POD_UID'],
]);
