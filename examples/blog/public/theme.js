// Runs before the first paint, so that a dark page does not begin white. src/useTheme.js keeps the choice.
const stored = localStorage.getItem('theme') ?? 'auto';
const isDark = stored === 'dark' || (stored === 'auto' && matchMedia('(prefers-color-scheme: dark)').matches);
document.documentElement.classList.add(isDark ? 'dark' : 'light');
