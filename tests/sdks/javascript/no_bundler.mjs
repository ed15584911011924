// Replaces esbuild, which these tests do not install. The example's page gets an empty script.
import { register } from "node:module";

const bundler = "data:text/javascript,export const buildSync = () => ({ outputFiles: [{ text: '' }] });";
const hooks = `export async function resolve(name, context, next) {
  return name === "esbuild" ? { url: ${JSON.stringify(bundler)}, shortCircuit: true } : next(name, context);
}`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
