import { status } from '@grpc/grpc-js';

/** Returns the name of a gRPC status code: `OK`, `NOT_FOUND`, … */
export function statusName(code: number): string {
  return (status as unknown as Readonly<Record<number, string | undefined>>)[code] ?? 'UNKNOWN';
}
