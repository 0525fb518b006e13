/** The surface of @nephos/plugin/simulated: hosts, machines and volumes that exist only as records. */
export { SimulatedHypervisor } from './hypervisor.ts';
export { type CheckTemplate, SimulatedStorage } from './storage.ts';
export { type Knobs, SimulatedWorld } from './world.ts';
