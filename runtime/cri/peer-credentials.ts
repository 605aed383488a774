// Stands in until base/kernel lands.
import koffi from 'koffi';
const getsockopt = koffi.load('libc.so.6').func('int getsockopt(int, int, int, _Out_ uint8_t*, _Inout_ uint32_t*)');
export function peerCredentials(fd: number): { pid: number; uid: number; gid: number } {
  const buffer = Buffer.alloc(12);
  if (getsockopt(fd, 1, 17, buffer, [12]) !== 0) throw new Error('getsockopt SO_PEERCRED failed');
  return { pid: buffer.readInt32LE(0), uid: buffer.readUInt32LE(4), gid: buffer.readUInt32LE(8) };
}
