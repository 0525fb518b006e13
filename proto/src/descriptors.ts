// Where the compiled descriptors of every contract lie: a google.protobuf.FileDescriptorSet with all imports.
// Owner: the tool chain; the file is written by `pnpm generate`. For gRPC reflection and for field options.
import { fileURLToPath } from 'node:url';

/** Absolute path of the binary FileDescriptorSet. */
export const descriptorsPath: string = fileURLToPath(new URL('../gen/descriptors.binpb', import.meta.url));
