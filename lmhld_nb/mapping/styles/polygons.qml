<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology">
<renderer-v2 type="graduatedSymbol" attr="mean_probability" graduatedMethod="GraduatedColor">
<ranges>$ranges</ranges>
<symbols>
<symbol type="fill" name="0" alpha="0.7"><layer class="SimpleFill" enabled="1" pass="0"><Option type="Map">
 <Option type="QString" name="color" value="68,1,84,255"/>
 <Option type="QString" name="style" value="solid"/>
 <Option type="QString" name="outline_color" value="0,0,0,255"/>
 <Option type="QString" name="outline_style" value="solid"/>
 <Option type="QString" name="outline_width" value="0.2"/>
</Option></layer></symbol>
<symbol type="fill" name="1" alpha="0.7"><layer class="SimpleFill" enabled="1" pass="0"><Option type="Map">
 <Option type="QString" name="color" value="58,82,139,255"/>
 <Option type="QString" name="style" value="solid"/>
 <Option type="QString" name="outline_color" value="0,0,0,255"/>
 <Option type="QString" name="outline_style" value="solid"/>
 <Option type="QString" name="outline_width" value="0.2"/>
</Option></layer></symbol>
<symbol type="fill" name="2" alpha="0.7"><layer class="SimpleFill" enabled="1" pass="0"><Option type="Map">
 <Option type="QString" name="color" value="32,144,140,255"/>
 <Option type="QString" name="style" value="solid"/>
 <Option type="QString" name="outline_color" value="0,0,0,255"/>
 <Option type="QString" name="outline_style" value="solid"/>
 <Option type="QString" name="outline_width" value="0.2"/>
</Option></layer></symbol>
<symbol type="fill" name="3" alpha="0.7"><layer class="SimpleFill" enabled="1" pass="0"><Option type="Map">
 <Option type="QString" name="color" value="94,201,97,255"/>
 <Option type="QString" name="style" value="solid"/>
 <Option type="QString" name="outline_color" value="0,0,0,255"/>
 <Option type="QString" name="outline_style" value="solid"/>
 <Option type="QString" name="outline_width" value="0.2"/>
</Option></layer></symbol>
<symbol type="fill" name="4" alpha="0.7"><layer class="SimpleFill" enabled="1" pass="0"><Option type="Map">
 <Option type="QString" name="color" value="253,231,36,255"/>
 <Option type="QString" name="style" value="solid"/>
 <Option type="QString" name="outline_color" value="0,0,0,255"/>
 <Option type="QString" name="outline_style" value="solid"/>
 <Option type="QString" name="outline_width" value="0.2"/>
</Option></layer></symbol></symbols>
</renderer-v2>
<layerGeometryType>2</layerGeometryType>
</qgis>
