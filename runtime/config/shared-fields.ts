/** Fields that several sections of the configuration have. */

export const nodeNameSchema = {
  type: 'string',
  minLength: 1,
  maxLength: 253,
  description:
    'Name of this node in the cluster. If omitted, the host name in lower case is used, as by a kubelet.',
} as const;

/** Field `order` of a network whose file the daemon writes. */
export const fileOrderSchema = {
  type: 'string',
  pattern: '^[a-zA-Z0-9_.]{1,16}$',
  description:
    'Beginning of the network’s file name in `cni.confDir`. Files are read in the order of their names.',
  default: '10',
} as const;

/** Field `kubeconfig` of a section that names a cluster. */
export const kubeconfigSchema = (description: string) =>
  ({ type: 'string', format: 'path', minLength: 1, maxLength: 4096, description }) as const;
