import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// Where `tracker ui` listens while the page is served by `npm run dev`.
const server = "http://127.0.0.1:8765";

export default defineConfig({
  base: "/",
  plugins: [react()],
  build: {
    // The wheel takes the built page from here; the folder is not in git.
    outDir: "../static",
    emptyOutDir: true,
    target: ["chrome123", "firefox128", "safari17.5"],
    // The inlined polyfill would ask for a looser Content-Security-Policy, and every browser above knows modulepreload.
    modulePreload: { polyfill: false },
    // No data: URLs, so `img-src 'self'` is enough.
    assetsInlineLimit: 0,
    reportCompressedSize: true,
  },
  server: { proxy: { "/api": server } },
});
