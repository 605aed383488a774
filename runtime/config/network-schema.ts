import { nodeNetworkSchema } from './node-network-schema.ts';
import { overlaySchema } from './overlay-schema.ts';
import type { ConfigSchema } from './config-schema.ts';
import { kubeconfigSchema, nodeNameSchema } from './shared-fields.ts';

const path = { type: 'string', format: 'path', minLength: 1, maxLength: 4096 } as const;

/** The key `network` of `config.yaml`. */
export const networkSchema: ConfigSchema = {
  type: 'object',
  description: 'Networks of pods: policies, plugins, names, services and the network that spans hosts.',
  additionalProperties: false,
  properties: {
    policies: {
      ...path,
      description:
        'Folder of Kubernetes NetworkPolicies and namespaces, as YAML or JSON files. The daemon applies changes while it runs. The folder may be missing.',
      default: '/etc/portcullis/network-policies',
    },
    kubernetes: {
      type: 'object',
      description:
        'Kubernetes cluster of this node. If it is given, its NetworkPolicies apply in addition to the files of `network.policies`. An empty object uses the service account of the pod that the daemon runs in.',
      // Absent unless it is written: an object without values would follow a cluster.
      required: [],
      additionalProperties: false,
      properties: {
        kubeconfig: kubeconfigSchema(
          'Kubeconfig file for the cluster’s API. The file, and the files that it names, are read again for each request. If omitted, the token and the authority of the pod’s service account are used. The user must be allowed to list and watch pods, namespaces, nodes, networkpolicies.networking.k8s.io and clusternetworkpolicies.policy.networking.k8s.io.',
        ),
        servers: {
          type: 'array',
          items: { type: 'string', minLength: 8, maxLength: 253 },
          maxItems: 16,
          description:
            'Addresses of the API servers, such as `https://192.0.2.10:6443`, in place of the address that the kubeconfig or the environment of the pod names. They are tried in turn. Do not name the address of a service: services and policies depend on this connection.',
          default: [],
        },
        nodeName: nodeNameSchema,
        policies: {
          type: 'boolean',
          description: 'Whether the NetworkPolicies of the cluster apply on this node.',
          default: true,
        },
        dns: {
          type: 'object',
          description:
            'Name server of this node for the names of the cluster’s services, in place of CoreDNS. If omitted, the names of the cluster are not answered.',
          // Absent unless it is written: it adds an address to this host.
          required: ['address'],
          additionalProperties: false,
          properties: {
            address: {
              type: 'string',
              minLength: 2,
              maxLength: 45,
              description:
                'Address at which the pods of this node ask, such as `169.254.20.10`: `clusterDNS` of the kubelet. The daemon adds it to the link lo. Use the same address for all nodes. It must not be used by anything else in the cluster, and must not be the address of a service.',
            },
            domain: {
              type: 'string',
              minLength: 1,
              maxLength: 190,
              pattern: '^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$',
              description: 'Domain of the cluster: `clusterDomain` of the kubelet.',
              default: 'cluster.local',
            },
            podNames: {
              type: 'boolean',
              description:
                'Whether names of pods are answered, such as `10-0-0-1.NAMESPACE.pod.cluster.local`. Any address has such a name, whether a pod has the address or not.',
              default: true,
            },
          },
        },
      },
    },
    plugins: {
      type: 'string',
      enum: ['auto', 'exec'],
      description:
        'How the plugins of a network are run. `auto` runs them in the daemon, without starting a program, if all of them are plugins of Portcullis, with or without the prefix `portcullis-`; otherwise it runs all of them as programs of `cni.binDirs`. `exec` always runs them as programs.',
      default: 'auto',
    },
    cacheDir: {
      ...path,
      description: 'Folder that stores the results of third-party plugins, in the format of libcni.',
      default: '/var/lib/cni',
    },
    maxConfigs: {
      type: 'integer',
      minimum: 1,
      maximum: 16,
      description:
        'Maximum number of networks of `cni.confDir` that a pod gets. The first network is eth0, the next is eth1.',
      default: 1,
    },
    dockerDriver: {
      ...path,
      description:
        'Unix socket, mode 0600, at which the daemon serves Docker as a remote driver of libnetwork. Docker finds `/run/docker/plugins/NAME.sock` by its name. If omitted, Docker is not served.',
    },
    dockerSocket: {
      ...path,
      description:
        'Unix socket of Docker’s API. While Docker is served, the daemon reads the names and aliases of Docker’s containers from it, and answers them to the other members of their networks. The socket may appear later, and disappear.',
      default: '/run/docker.sock',
    },
    dns: {
      type: 'object',
      description:
        'DNS server for the names of networks: containers, aliases and services. It answers at the gateways of bridges.',
      additionalProperties: false,
      properties: {
        enabled: { type: 'boolean', description: 'Whether the daemon answers names.', default: true },
        upstreams: {
          type: 'array',
          items: { type: 'string', minLength: 2, maxLength: 45 },
          maxItems: 8,
          description:
            'Addresses of the name servers that resolve all other names. The first healthy server is asked before the others. If empty, the servers of /etc/resolv.conf are used, and changes of that file are applied. A pod may have its own servers.',
          default: [],
        },
        ttl: {
          type: 'integer',
          minimum: 0,
          maximum: 86_400,
          description: 'Seconds for which a client may cache the address of a name.',
          default: 5,
        },
        maxForwards: {
          type: 'integer',
          minimum: 1,
          maximum: 20_000,
          description:
            'Maximum number of concurrent queries to other name servers. One client may have a quarter of them. Further queries are answered with a failure at once; at the maximum, a client with few queries takes the place of the oldest query of the client with the most.',
          default: 1000,
        },
      },
    },
    services: {
      type: 'object',
      description: 'Services: virtual addresses whose connections are load-balanced over backends.',
      additionalProperties: false,
      properties: {
        backend: {
          type: 'string',
          enum: ['auto', 'nftables', 'ipvs'],
          description:
            'Load balancer of the kernel. `auto` selects nf_tables if the kernel supports what it needs, otherwise IPVS. `portcullis service apply --backend` changes the balancer until the next start.',
          default: 'auto',
        },
        folder: {
          ...path,
          description:
            'Folder of services, as YAML or JSON files. The daemon applies changes while it runs. The folder may be missing.',
          default: '/etc/portcullis/services',
        },
        kubernetes: {
          type: 'object',
          description:
            'Kubernetes cluster whose Services this node serves in place of kube-proxy. If omitted, no cluster’s Services are served.',
          required: [],
          additionalProperties: false,
          properties: {
            nodePortAddresses: {
              type: 'array',
              items: { type: 'string', minLength: 1, maxLength: 49 },
              minItems: 1,
              maxItems: 64,
              description:
                'Addresses of this host at which node ports are served: `primary` alone for the internal addresses of the Node object, or prefixes. If omitted, node ports are served at every address of the host.',
            },
            healthAddress: {
              type: 'string',
              maxLength: 60,
              pattern: '^(.+:\\d{1,5})?$',
              description:
                'Address and port at which load balancers ask for the health of this node: `/healthz` and `/livez`, as with kube-proxy. Empty: they cannot ask.',
              default: '0.0.0.0:10256',
            },
            kubeconfig: kubeconfigSchema(
              'Kubeconfig file for the cluster’s API. The file, and the files that it names, are read again for each request. Its user must be allowed to list and watch services, nodes, endpointslices and servicecidrs (ClusterRole system:node-proxier). If omitted, `network.kubernetes` is used.',
            ),
            nodeName: nodeNameSchema,
            zone: {
              type: 'string',
              minLength: 1,
              maxLength: 63,
              description:
                'Zone of this node. If omitted, the label topology.kubernetes.io/zone of its Node object is used.',
            },
            podRanges: {
              type: 'array',
              items: { type: 'string', minLength: 1, maxLength: 49 },
              maxItems: 16,
              description:
                'Prefixes of the addresses of the pods of this node. At an external address of a Service with `externalTrafficPolicy: Local`, these pods get any endpoint, as kube-proxy does it. If omitted, `spec.podCIDRs` of the Node object is used.',
            },
            externalIPs: {
              type: 'array',
              items: { type: 'string', minLength: 1, maxLength: 49 },
              maxItems: 256,
              description:
                'Prefixes of the addresses that may be served from the `externalIPs` of Services. An empty list serves none. If omitted, all are served, as with kube-proxy; then any user who may write a Service can intercept traffic to any address outside the cluster (CVE-2020-8554).',
            },
          },
        },
      },
    },
    pods: nodeNetworkSchema,
    overlay: overlaySchema,
    pluginTimeout: {
      type: 'integer',
      minimum: 1,
      maximum: 3600,
      description:
        'Maximum duration in seconds of one call of a plugin that is run as a program. Then the plugin is killed, with all processes that it started.',
      default: 60,
    },
  },
};
