import { status } from '@grpc/grpc-js';

/** `OK`, `NOT_FOUND`, …: the name of a gRPC status code. */
export function statusName(code: number): string {
  return (status as unknown as Readonly<Record<number, string | undefined>>)[code] ?? 'UNKNOWN';
}
