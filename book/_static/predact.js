// Draws every figure of a page with the Vega bundle that stands beside this file.
(() => {
  const draw = async (figure) => {
    const spec = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    const canvas = figure.appendChild(document.createElement("div"));
    const { view } = await vegaEmbed(canvas, spec, { mode: "vega-lite" });
    figure.view = view;
    new ResizeObserver(() => canvas.clientWidth && view.resize().runAsync()).observe(canvas);
    figure.dataset.drawn = "1";
  };

  const fail = (figure, error) => {
    figure.append("This figure could not be drawn.");
    console.error("predact: a figure could not be drawn:", error);
  };

  // Controls above several figures set a parameter in each of them that has it.
  const link = (panels) => {
    const form = panels.querySelector("form");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", ({ target }) => {
      const value = target.type === "range" ? Number(target.value) : target.value;
      if (target.nextElementSibling) target.nextElementSibling.textContent = target.value;
      for (const { view } of panels.querySelectorAll(".predact-chart"))
        if (view && target.name in view.getState({ signals: (name) => name === target.name }).signals)
          view.signal(target.name, value).runAsync();
    });
  };

  const start = () => {
    for (const panels of document.querySelectorAll(".predact-panels")) link(panels);
    for (const figure of document.querySelectorAll(".predact-chart")) draw(figure).catch((error) => fail(figure, error));
  };

  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", start) : start();
})();
