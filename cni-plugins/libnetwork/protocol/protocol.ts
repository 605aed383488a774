/**
 * The messages between a libnetwork container engine (docker) and a remote driver over HTTP. Every call is
 * `POST /<Verb>` with a JSON object, and the answer is a JSON object. A driver that cannot fulfil a request
 * answers `{"Err": "…"}`. Field names are those of the wire format. Sources: moby's
 * daemon/libnetwork/drivers/remote/api/api.go, daemon/libnetwork/ipams/remote/api/api.go, pkg/plugins;
 * libnetwork's docs/remote.md and docs/ipam.md. Verbs that 20.10 does not know are marked.
 */

/** The content type of both directions (pkg/plugins/transport). */
export const pluginContentType = 'application/vnd.docker.plugins.v1.1+json';

/** Every answer may be an error. An empty text is none. */
export interface DriverError {
  readonly Err: string;
}

/** The handshake: the first call on a socket. */
export interface ActivateReply {
  readonly Implements: readonly ('IpamDriver' | 'NetworkDriver')[];
}

export interface NetworkCapabilities {
  /** The owner of networks: one engine, or all engines of a swarm. */
  readonly Scope: 'global' | 'local';
  readonly ConnectivityScope?: 'global' | 'local';
  /** The engine may call `GwAllocCheck` (not in 20.10). */
  readonly GwAllocChecker?: boolean;
}

/** Addresses of a network as its IPAM driver assigned them. */
export interface IpamData {
  readonly AddressSpace: string;
  /** CIDR. */
  readonly Pool: string;
  /** CIDR: the gateway's address with the pool's length. */
  readonly Gateway?: string;
  readonly AuxAddresses?: Readonly<Record<string, string>>;
}

/** Labels of options (moby's daemon/libnetwork/netlabel). */
export const netLabels = {
  /** The options of `docker network create -o`. */
  generic: 'com.docker.network.generic',
  internal: 'com.docker.network.internal',
  enableIpv4: 'com.docker.network.enable_ipv4',
  enableIpv6: 'com.docker.network.enable_ipv6',
  mtu: 'com.docker.network.driver.mtu',
  portMap: 'com.docker.network.portmap',
  exposedPorts: 'com.docker.network.endpoint.exposedports',
  macAddress: 'com.docker.network.endpoint.macaddress',
  /** Option of RequestAddress: the value {@link gatewayAddress} requests the pool's gateway. */
  requestAddressType: 'RequestAddressType',
} as const;

/** See {@link netLabels.requestAddressType}. */
export const gatewayAddress = 'com.docker.network.gateway';

export type DriverOptions = Readonly<Record<string, unknown>>;

/** An entry of {@link netLabels.portMap}. */
export interface PortBinding {
  /** IANA's number: 1 icmp, 6 tcp, 17 udp, 132 sctp. */
  readonly Proto: number;
  readonly IP?: string;
  /** The container's port. */
  readonly Port: number;
  readonly HostIP?: string;
  /** 0: any free port, or one of HostPort to HostPortEnd. */
  readonly HostPort?: number;
  readonly HostPortEnd?: number;
}

/** Swarm's manager sends it for networks of scope global. */
export interface AllocateNetworkRequest {
  readonly NetworkID: string;
  readonly Options?: Readonly<Record<string, string>>;
  readonly IPv4Data?: readonly IpamData[];
  readonly IPv6Data?: readonly IpamData[];
}
export interface AllocateNetworkReply {
  readonly Options: Readonly<Record<string, string>>;
}

export interface CreateNetworkRequest {
  /** 64 hex digits in docker. */
  readonly NetworkID: string;
  readonly Options?: DriverOptions;
  readonly IPv4Data?: readonly IpamData[];
  readonly IPv6Data?: readonly IpamData[];
}

/** The request of FreeNetwork and DeleteNetwork. */
export interface NetworkRequest {
  readonly NetworkID: string;
}

/** Not in 20.10. */
export interface GwAllocCheckRequest {
  readonly Options?: DriverOptions;
}
/** Families for which no gateway address has to be taken from the pool. */
export interface GwAllocCheckReply {
  readonly SkipIPv4: boolean;
  readonly SkipIPv6: boolean;
}

/** CIDR, CIDR, and a MAC address. Empty: not chosen. */
export interface EndpointInterface {
  readonly Address: string;
  readonly AddressIPv6: string;
  readonly MacAddress: string;
}

export interface CreateEndpointRequest {
  readonly NetworkID: string;
  readonly EndpointID: string;
  /** Addresses that are chosen already. A driver that answers with such a field is refused. */
  readonly Interface?: Partial<EndpointInterface>;
  readonly Options?: DriverOptions;
}
export interface CreateEndpointReply {
  /** The addresses that the driver chose. */
  readonly Interface?: Partial<EndpointInterface>;
}

/** The request of EndpointOperInfo, Leave, DeleteEndpoint and RevokeExternalConnectivity. */
export interface EndpointRequest {
  readonly NetworkID: string;
  readonly EndpointID: string;
}

export interface EndpointInfoReply {
  readonly Value: Readonly<Record<string, unknown>>;
}

export interface JoinRequest {
  readonly NetworkID: string;
  readonly EndpointID: string;
  /**
   * Path of the container's namespace. It need not exist yet: docker creates it later, in a hook of the OCI
   * runtime.
   */
  readonly SandboxKey: string;
  readonly Options?: DriverOptions;
}
export interface JoinReply {
  /**
   * A link in the engine's namespace. The engine moves it to the container as `DstPrefix` with a number, or
   * as `DstName` (not in 20.10).
   */
  readonly InterfaceName?: {
    readonly SrcName: string;
    readonly DstPrefix: string;
    readonly DstName?: string;
  };
  readonly Gateway?: string;
  readonly GatewayIPv6?: string;
  readonly StaticRoutes?: readonly StaticRoute[];
  /**
   * Without this flag, and without a gateway, docker gives the container a second interface on its own
   * `docker_gwbridge`.
   */
  readonly DisableGatewayService?: boolean;
}

/** `RouteType` 0: through NextHop; 1: on the link. */
export interface StaticRoute {
  readonly Destination: string;
  readonly RouteType: 0 | 1;
  readonly NextHop?: string;
}

export interface ProgramExternalConnectivityRequest {
  readonly NetworkID: string;
  readonly EndpointID: string;
  readonly Options?: DriverOptions;
}

/** The request of DiscoverNew and DiscoverDelete. */
export interface DiscoveryNotification {
  /** 1: a node joined or left. */
  readonly DiscoveryType: number;
  readonly DiscoveryData?: unknown;
}

export interface IpamCapabilities {
  /** RequestAddress contains the endpoint's MAC address ({@link netLabels.macAddress}). */
  readonly RequiresMACAddress: boolean;
  /** The engine requests all pools and addresses again after its restart. */
  readonly RequiresRequestReplay: boolean;
}

export interface AddressSpacesReply {
  readonly LocalDefaultAddressSpace: string;
  readonly GlobalDefaultAddressSpace: string;
}

export interface RequestPoolRequest {
  readonly AddressSpace: string;
  /** CIDR; empty: any. */
  readonly Pool?: string;
  /** CIDR within the pool: addresses that are not requested explicitly come from there (`--ip-range`). */
  readonly SubPool?: string;
  /** Options of `docker network create --ipam-opt`. */
  readonly Options?: Readonly<Record<string, string>>;
  readonly V6?: boolean;
}
export interface RequestPoolReply {
  readonly PoolID: string;
  /** CIDR. */
  readonly Pool: string;
  readonly Data: Readonly<Record<string, string>>;
}

export interface ReleasePoolRequest {
  readonly PoolID: string;
}

export interface RequestAddressRequest {
  readonly PoolID: string;
  /** Without a prefix length; empty: any. */
  readonly Address?: string;
  readonly Options?: Readonly<Record<string, string>>;
}
export interface RequestAddressReply {
  /** CIDR. */
  readonly Address: string;
  readonly Data: Readonly<Record<string, string>>;
}

export interface ReleaseAddressRequest {
  readonly PoolID: string;
  readonly Address: string;
}

/** `{}`: success. */
export type Nothing = Readonly<Record<string, never>>;

/** Every verb with its request and its reply. */
export interface DriverVerbs {
  'Plugin.Activate': [Nothing, ActivateReply];
  'NetworkDriver.GetCapabilities': [Nothing, NetworkCapabilities];
  'NetworkDriver.AllocateNetwork': [AllocateNetworkRequest, AllocateNetworkReply];
  'NetworkDriver.FreeNetwork': [NetworkRequest, Nothing];
  'NetworkDriver.CreateNetwork': [CreateNetworkRequest, Nothing];
  'NetworkDriver.GwAllocCheck': [GwAllocCheckRequest, GwAllocCheckReply];
  'NetworkDriver.DeleteNetwork': [NetworkRequest, Nothing];
  'NetworkDriver.CreateEndpoint': [CreateEndpointRequest, CreateEndpointReply];
  'NetworkDriver.DeleteEndpoint': [EndpointRequest, Nothing];
  'NetworkDriver.EndpointOperInfo': [EndpointRequest, EndpointInfoReply];
  'NetworkDriver.Join': [JoinRequest, JoinReply];
  'NetworkDriver.Leave': [EndpointRequest, Nothing];
  'NetworkDriver.ProgramExternalConnectivity': [ProgramExternalConnectivityRequest, Nothing];
  'NetworkDriver.RevokeExternalConnectivity': [EndpointRequest, Nothing];
  'NetworkDriver.DiscoverNew': [DiscoveryNotification, Nothing];
  'NetworkDriver.DiscoverDelete': [DiscoveryNotification, Nothing];
  'IpamDriver.GetCapabilities': [Nothing, IpamCapabilities];
  'IpamDriver.GetDefaultAddressSpaces': [Nothing, AddressSpacesReply];
  'IpamDriver.RequestPool': [RequestPoolRequest, RequestPoolReply];
  'IpamDriver.ReleasePool': [ReleasePoolRequest, Nothing];
  'IpamDriver.RequestAddress': [RequestAddressRequest, RequestAddressReply];
  'IpamDriver.ReleaseAddress': [ReleaseAddressRequest, Nothing];
}

export type DriverVerb = keyof DriverVerbs;
export type RequestOf<Verb extends DriverVerb> = DriverVerbs[Verb][0];
export type ReplyOf<Verb extends DriverVerb> = DriverVerbs[Verb][1];
