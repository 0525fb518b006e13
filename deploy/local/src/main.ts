/**
 * `npm start`: the whole platform on this machine, and a first VM on it. Only the way in: what is compiled is kept
 * for the next start, then the launcher takes over.
 */
import { enableCompileCache } from 'node:module';
import { compileCache } from './layout.ts';

enableCompileCache(compileCache);
const { main } = await import('./launcher.ts');
process.exitCode = await main(process.argv.slice(2));
// What a library may have left open must not keep a stopped platform.
process.exit();
