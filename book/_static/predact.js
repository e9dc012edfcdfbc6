// Draws every figure of a page with the Vega bundle that stands beside this file.
(() => {
  const draw = async (figure) => {
    const spec = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    const canvas = figure.appendChild(document.createElement("div"));
    const { view } = await vegaEmbed(canvas, spec, { mode: "vega-lite" });
    new ResizeObserver(() => canvas.clientWidth && view.resize().runAsync()).observe(canvas);
    figure.dataset.drawn = "1";
  };

  const fail = (figure, error) => {
    figure.append("This figure could not be drawn.");
    console.error("predact: a figure could not be drawn:", error);
  };

  const start = () => {
    for (const figure of document.querySelectorAll(".predact-chart")) draw(figure).catch((error) => fail(figure, error));
  };

  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", start) : start();
})();
