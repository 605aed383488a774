export { startFleetService } from './service/fleet-service.ts';
export type { FleetService, FleetServiceOptions } from './service/fleet-service.ts';
export { readAccessFile } from './service/access.ts';
export type { AccessFile } from './service/access.ts';
export { namePattern } from './records/names.ts';
export { openExporter } from './exporter/exporter.ts';
export type { ExportedRow, Exporter, ExporterOptions, ExportSource } from './exporter/exporter.ts';
export { mostEntries, mostStateLength } from './records/state.ts';
export type { FleetContainer, FleetFinding, NodeState } from './records/state.ts';
