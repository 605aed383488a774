import type { Pki } from '../fixtures/kubernetes/pki.ts';

/**
 * Flags of a kube-apiserver that asks the API servers and webhooks of pods: it authenticates itself to them,
 * and connects to their endpoints, because nothing serves the addresses of Services on its machine
 * (kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer).
 */
export function aggregatorFlags(pki: Pki): readonly string[] {
  const name = 'front-proxy-client';
  const { cert, key } = pki.client(name, name);
  return [
    ...['--enable-aggregator-routing=true', '--proxy-client-cert-file', cert, '--proxy-client-key-file', key],
    ...['--requestheader-client-ca-file', pki.ca, '--requestheader-allowed-names', name],
    ...['--requestheader-username-headers', 'X-Remote-User'],
    ...['--requestheader-group-headers', 'X-Remote-Group'],
    ...['--requestheader-extra-headers-prefix', 'X-Remote-Extra-'],
  ];
}
