// What the theme leaves undone for readers with a keyboard or a screen reader.
(() => {
  const TOLD = 'summary[aria-label="Toggle hidden content"], .search-button-field'; // a text of their own names them
  const SCROLLS = `.predact-verdicts, .predact-settings, .predact-provenance, .pst-scrollable-table-container, .cell_output,
    .highlight pre, .output pre, mjx-container[display="true"]`;

  const reach = () => {
    for (const each of document.querySelectorAll(SCROLLS))
      if (each.scrollWidth > each.clientWidth || each.scrollHeight > each.clientHeight + 1) each.tabIndex = 0;
  };

  const start = () => {
    for (const each of document.querySelectorAll(TOLD)) each.removeAttribute("aria-label");
    for (const each of document.querySelectorAll(".theme-switch-button"))
      each.setAttribute("aria-label", "Color mode: Light, Dark, System Settings");
    new ResizeObserver(reach).observe(document.body);
  };

  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", start) : start();
})();
