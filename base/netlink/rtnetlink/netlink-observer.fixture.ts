import { ifla, parseAttributes, rt } from 'netlink';

/** Replaces bytes by hex digits, so that values can be compared with literals. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, part]) => [key, plain(part)]));
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, plain(part)]));
}

const dataReaders: Readonly<Record<string, (data: Buffer) => object>> = {
  vxlan: ifla.parseVxlan,
  vlan: ifla.parseVlan,
  macvlan: ifla.parseMacvlan,
  ipvlan: ifla.parseIpvlan,
  veth: (data) => {
    let peer: object = {};
    parseAttributes(data, ({ type, data: content }) => {
      // VETH_INFO_PEER
      if (type === 1) peer = withInfo(rt.parseLinkMessage(content));
    });
    return { peer };
  },
};

/** Replaces the bytes of `linkinfo` by what they contain. */
export function withInfo(message: rt.Message): object {
  if (message.kind !== 'link' || message.attrs.linkinfo === undefined) return message;
  const info = ifla.parseInfo(message.attrs.linkinfo);
  const read = dataReaders[info.kind ?? ''];
  return {
    ...message,
    attrs: {
      ...message.attrs,
      linkinfo: {
        ...info,
        ...(info.data === undefined ? {} : { data: read === undefined ? 'not read' : read(info.data) }),
        ...(info.slaveData === undefined ? {} : { slaveData: ifla.parseBridgePort(info.slaveData) }),
      },
    },
  };
}
