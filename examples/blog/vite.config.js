import ui from '@nuxt/ui/vite';
import vue from '@vitejs/plugin-vue';
import { defineConfig } from 'vite';

/** Styles that packages put into a `<style>` element at run time, which the page's policy refuses: the theme's colours, which
 *  src/style.css has instead, and those of a drawer, which the page does not use. */
const withoutStyleElements = {
  name: 'without-style-elements',
  enforce: 'pre',
  load: (id) => (/@nuxt\/ui\/dist\/runtime\/plugins\/colors\.js$/.test(id) ? 'export default () => {};' : undefined),
  transform: (code, id) => (/vaul-vue\/dist\/index\.js$/.test(id) ? code.replace(/^\(function.*?\}\)\(\);\n/, '') : undefined),
};

export default defineConfig({
  plugins: [
    withoutStyleElements,
    vue(),
    ui({
      colorMode: false, // public/theme.js and src/useTheme.js: before the first paint, and without a <style> element
      router: false,
      dts: false,
      experimental: { componentDetection: true },
      // Icons come with the page, not from the icons' own API.
      icon: { clientBundle: { scan: true } },
      ui: { colors: { primary: 'indigo', neutral: 'zinc' } },
    }),
  ],
  server: {
    // `npm run dev` beside `make dev`.
    proxy: Object.fromEntries(['/api', '/token'].map((path) => [path, process.env.API_URL ?? 'http://127.0.0.1:9000'])),
  },
});
